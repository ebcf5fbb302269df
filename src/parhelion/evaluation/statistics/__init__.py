"""Weighted statistics that metrics share: the area under the ROC curve, one-dimensional distances, shares."""
