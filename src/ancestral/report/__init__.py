"""The report of a run: one HTML file that holds everything, opens anywhere and asks the network for nothing.

Reading order: page (what stands where, and the numbers at its top), facts (what a run folder knows), then a module for
each group of sections: samples, losses, quality, sweep, likelihood. Beneath: html, pictures.
`data_page` is another page, on a folder of images.
"""
