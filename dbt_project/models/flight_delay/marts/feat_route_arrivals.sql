-- At 09:00 UTC, before New York's first decision of the day.
{{ daily_history(
    ref('int_flights_timed'),
    keys="origin, destination",
    event="arrival",
    time="arrived_at",
    delay="arrival_delay_min",
    days=28,
    snapshot="9 hour",
    prior=30,
) }}
