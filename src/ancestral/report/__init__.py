"""The report of a run: one HTML file that holds everything, opens anywhere and asks the network for nothing.

Reading order: page (what stands where), facts (what a run folder knows), generates (the images generated for it), then
a module for each group of sections: headline, gallery, losses, copies, quality, particulars. Beneath: html, tiles,
figures.
"""

from ancestral.report.page import write_report

__all__ = ["write_report"]
