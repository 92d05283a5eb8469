"""A trained model as one HTML file: what it is packed into, and the engine that computes it in a browser."""
