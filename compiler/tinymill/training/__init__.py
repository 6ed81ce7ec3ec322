"""Training on the device: backward passes, sparse updates, the arithmetic of both."""
