"""What an analysis infers from a generated sample: parameters and their bias, posteriors and their calibration."""
