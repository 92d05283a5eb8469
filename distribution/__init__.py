"""What is given away beside the source: models, which `distribution/models.py` trains and packs. Not installed."""
