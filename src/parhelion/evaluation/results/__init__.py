"""What a metric answers: quantities with errors and nulls; what is known of a metric; the verdict."""
