"""Which digit stands in a box of a form, seen when the form is scanned?"""
