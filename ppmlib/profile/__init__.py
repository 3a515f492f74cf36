"""What a width costs: time, memory and energy of a fixed amount of work (notebook 4).

profiling   the work, timed at every width
widths      one model at several widths, its dense weights parked meanwhile
counters    the energy counters that can be read here, or why there are none
energy      joules of the work, idle power taken the same way
limits      the least time a pass can take on the device, and how much of it is used
ratios      widths compared: speed-ups, alignment, break-even
"""
