"""The report of a run: one HTML file that holds everything, opens anywhere and asks the network for nothing."""
