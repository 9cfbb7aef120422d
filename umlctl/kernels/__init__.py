"""UML kernels: finding one on this machine, or fetching it, and what each can do."""
