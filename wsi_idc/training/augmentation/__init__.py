"""What a network is shown in training: patches, changed, in batches."""
