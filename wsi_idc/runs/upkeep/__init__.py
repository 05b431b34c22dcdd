"""What is done with an output folder between runs: how far it is, whether it is whole."""
