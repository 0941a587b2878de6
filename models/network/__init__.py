"""A neural network from scratch. Reading order: activations, losses, layers, optimizers, network, inference."""
