"""What a model adds to its training sample, and how far it is uncertain: amplification, replicas, ensembles."""
