select faa as airport_id, name as airport_name, tzone as time_zone
from {{ source('nycflights13', 'airports') }}
where tzone is not null
union all by name
select airport_id, airport_name, time_zone
from {{ ref('airport_patch') }}
