"""A neural network from scratch, in reading order: activations, losses, layers, network, optimizers."""
