"""The treatments inside a trainer. Nothing else in the package imports trl or verl."""
