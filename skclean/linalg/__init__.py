"""Pure functions on arrays: no estimator, no label noise."""
