"""What is registered beside the weights: the model card and the code that MLflow loads."""
