"""Models of a value over architecture terms: kernels and Gaussian processes."""
