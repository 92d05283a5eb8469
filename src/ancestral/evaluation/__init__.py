"""How good generated images are, and whether they are new: distances beside their floors, and held-out bits."""
