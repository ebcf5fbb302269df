"""Classifiers that tell generated from reference rows, and the weights and regions that they blame."""
