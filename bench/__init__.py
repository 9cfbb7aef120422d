"""The measurements, as ratios in one run: `python -m bench`, or `./dev bench`."""
