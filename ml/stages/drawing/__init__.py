"""How the figures are drawn; `ml.stages.plots` says which there are."""
