"""What a width costs: time, memory and energy of a fixed amount of work (notebook 4).

profiling          the work, timed at every width
widths             one model at several widths, its dense weights parked meanwhile
energy             joules through zeus, or why there are none
efficiency         profiling rows to limits, speed-ups, alignment, break-even
efficiency_tables  their tables and sentences
"""
