"""Guests whose supervisors are gone: finding them, judging how they ended, and cleaning up."""
