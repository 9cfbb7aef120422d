"""What a supervisor and its clients agree on beside the commands: the shape of what is said."""
