"""Will visibility at an airport of New York be under 3 miles in six hours?"""
