"""What this machine offers: paths, kernels, processes."""
