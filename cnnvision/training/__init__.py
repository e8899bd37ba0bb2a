"""The training loop and its parts. They know `Task`, never a model."""
