"""How much CO2 will be in the air at Mauna Loa in four weeks?"""
