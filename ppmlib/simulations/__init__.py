"""Do the intervals cover and the tests keep their level? (notebook 8)

simulations  coverage, false positives and power, simulated
bounds       what they must keep, each bound with its worst row
"""
