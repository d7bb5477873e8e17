"""What a network is trained to minimise."""
