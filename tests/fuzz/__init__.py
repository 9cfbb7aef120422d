"""Coverage-guided fuzzing of all that reads what comes from outside: see `python -m tests.fuzz`."""
