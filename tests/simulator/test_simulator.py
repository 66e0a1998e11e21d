"""Five thousand schedules of whatever may befall workers and brokers: each record is answered once, and rightly."""

PORTIONS = 10  # of 500 schedules each
