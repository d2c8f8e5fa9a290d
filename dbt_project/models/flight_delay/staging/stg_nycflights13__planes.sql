select
    tailnum as tail_number,
    year as built_year,
    type as aircraft_type,
    manufacturer,
    model,
    engines as engine_count,
    seats as seat_count,
    engine as engine_type
from {{ source('nycflights13', 'planes') }}
