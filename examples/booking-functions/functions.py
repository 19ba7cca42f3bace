"""A booking desk: what it offers and what was booked, in an SQLite database beside this file.

The database is made from offers.jsonl when it is first asked; delete it to begin anew. Booking the
same thing twice is one booking, so that a measurement that is repeated changes nothing.
"""

import hashlib
import json
import re
import sqlite3
import threading
from contextlib import closing
from datetime import date as Day
from pathlib import Path
from typing import Literal

READ_ONLY = {
    "find_apartments",
    "find_buses",
    "find_cars",
    "find_events",
    "find_hotels",
    "find_restaurants",
}
_HERE = Path(__file__).parent
_DATABASE = _HERE / "bookings.sqlite"
_MOST = 5  # offers that a search tells
_making = threading.Lock()

Stars = Literal[1, 2, 3, 4, 5]


def find_restaurants(
    city: str,
    cuisine: str,
    price_range: Literal["inexpensive", "moderate", "expensive", "very expensive"] | None = None,
    has_live_music: bool | None = None,
    serves_alcohol: bool | None = None,
) -> dict:
    """Find restaurants in a city.

    Args:
        city: where the restaurant is.
        cuisine: the food it serves.
        price_range: leave out where the customer did not say.
        has_live_music: leave out where the customer did not say.
        serves_alcohol: leave out where the customer did not say.
    """
    return _found(
        "restaurant",
        city,
        cuisine=cuisine,
        price_range=price_range,
        has_live_music=has_live_music,
        serves_alcohol=serves_alcohol,
    )


def reserve_restaurant(
    restaurant_name: str,
    city: str,
    time: str,
    date: str = "2019-03-01",
    party_size: int = 2,
) -> dict:
    """Reserve a table that the customer has confirmed.

    Args:
        restaurant_name: its name.
        city: where it is.
        time: as 18:30.
        date: as 2019-03-01, which is today.
        party_size: for how many people.
    """
    about = {"time": _time(time), "date": _date(date), "party_size": party_size}
    return _booked("restaurant", restaurant_name, city, about)


def find_hotels(
    city: str,
    number_of_rooms: int | None = None,
    has_wifi: bool | None = None,
    stars: Stars | None = None,
) -> dict:
    """Find hotels in a city.

    Args:
        city: where the hotel is.
        number_of_rooms: leave out where the customer did not say.
        has_wifi: leave out where the customer did not say.
        stars: leave out where the customer did not say.
    """
    return _found("hotel", city, number_of_rooms=number_of_rooms, has_wifi=has_wifi, stars=stars)


def reserve_hotel(
    hotel_name: str, city: str, check_in_date: str, number_of_days: int, number_of_rooms: int = 1
) -> dict:
    """Reserve rooms that the customer has confirmed.

    Args:
        hotel_name: its name.
        city: where it is.
        check_in_date: as 2019-03-01.
        number_of_days: how long the stay is.
        number_of_rooms: how many rooms.
    """
    about = {
        "check_in_date": _date(check_in_date),
        "number_of_days": number_of_days,
        "number_of_rooms": number_of_rooms,
    }
    return _booked("hotel", hotel_name, city, about)


def find_cars(
    city: str,
    pickup_date: str,
    pickup_time: str,
    dropoff_date: str,
    car_type: Literal["Compact", "Standard", "Full-size"] = "Standard",
) -> dict:
    """Find cars for rent.

    Args:
        city: where the car is picked up.
        pickup_date: as 2019-03-01.
        pickup_time: as 18:30.
        dropoff_date: as 2019-03-01.
        car_type: its size.
    """
    return _found(
        "car",
        city,
        asked={
            "pickup_date": _date(pickup_date),
            "pickup_time": _time(pickup_time),
            "dropoff_date": _date(dropoff_date),
        },
        car_type=car_type,
    )


def reserve_car(
    location: str,
    pickup_date: str,
    pickup_time: str,
    dropoff_date: str,
    car_type: Literal["Compact", "Standard", "Full-size"],
) -> dict:
    """Rent a car that the customer has confirmed.

    Args:
        location: the station where it is picked up.
        pickup_date: as 2019-03-01.
        pickup_time: as 18:30.
        dropoff_date: as 2019-03-01.
        car_type: its size.
    """
    about = {
        "pickup_date": _date(pickup_date),
        "pickup_time": _time(pickup_time),
        "dropoff_date": _date(dropoff_date),
        "car_type": car_type,
    }
    return _booked("station", location, None, about)


def find_events(
    city: str,
    category: Literal["Music", "Sports"],
    date: str | None = None,
    subcategory: str | None = None,
) -> dict:
    """Find concerts and games in a city.

    Args:
        city: where the event is.
        category: what kind of event.
        date: as 2019-03-01; leave out where the customer did not say.
        subcategory: the genre or the sport; leave out where the customer did not say.
    """
    return _found(
        "event",
        city,
        asked={"date": None if date is None else _date(date)},
        category=category,
        subcategory=subcategory,
    )


def buy_event_tickets(event_name: str, city: str, date: str, number_of_seats: int) -> dict:
    """Buy tickets that the customer has confirmed.

    Args:
        event_name: its name.
        city: where it is.
        date: as 2019-03-01.
        number_of_seats: how many tickets.
    """
    return _booked("event", event_name, city, {"date": _date(date), "seats": number_of_seats})


def find_buses(from_city: str, to_city: str, date: str, travelers: int = 1) -> dict:
    """Find buses between two cities.

    Args:
        from_city: where the journey begins.
        to_city: where it ends.
        date: as 2019-03-01.
        travelers: how many people travel.
    """
    asked = {"to_city": _plain(to_city), "date": _date(date), "travelers": travelers}
    return _found("bus", from_city, asked=asked)


def buy_bus_tickets(from_city: str, to_city: str, date: str, time: str, travelers: int) -> dict:
    """Buy bus tickets that the customer has confirmed.

    Args:
        from_city: where the journey begins.
        to_city: where it ends.
        date: as 2019-03-01.
        time: as 18:30.
        travelers: how many people travel.
    """
    about = {"to_city": _plain(to_city), "date": _date(date), "time": _time(time)}
    return _booked("bus", from_city, from_city, {**about, "travelers": travelers})


def find_apartments(
    city: str,
    number_of_beds: int,
    furnished: bool | None = None,
    pets_allowed: bool | None = None,
    number_of_baths: int | None = None,
) -> dict:
    """Find apartments in a city.

    Args:
        city: where the apartment is.
        number_of_beds: how many bedrooms.
        furnished: leave out where the customer did not say.
        pets_allowed: leave out where the customer did not say.
        number_of_baths: leave out where the customer did not say.
    """
    return _found(
        "apartment",
        city,
        number_of_beds=number_of_beds,
        furnished=furnished,
        pets_allowed=pets_allowed,
        number_of_baths=number_of_baths,
    )


def schedule_visit(property_name: str, visit_date: str) -> dict:
    """Arrange a visit to an apartment that the customer has confirmed.

    Args:
        property_name: its name.
        visit_date: as 2019-03-01.
    """
    return _booked("apartment", property_name, None, {"visit_date": _date(visit_date)})


def get_ride(destination: str, number_of_riders: int, shared_ride: bool) -> dict:
    """Call a taxi that the customer has confirmed.

    Args:
        destination: where to.
        number_of_riders: how many people ride.
        shared_ride: whether with strangers.
    """
    about = {"number_of_riders": number_of_riders, "shared_ride": shared_ride}
    return _booked("ride", destination, None, about)


def cancel_booking(reference: str) -> dict:
    """Cancel what was booked.

    Args:
        reference: the reference of the booking.
    """
    done = _ask("DELETE FROM bookings WHERE reference = ? RETURNING kind", reference)
    if not done:
        raise LookupError(f"nothing is booked under {reference!r}")
    return {"cancelled": reference}


# --- the database -------------------------------------------------------------------------------


def _found(kind: str, city: str, asked: dict | None = None, **wanted: object) -> dict:
    """What was looked for, as it was understood, and the first offers that fit."""
    wishes = {key: _plain(value) for key, value in wanted.items() if value is not None}
    rows = _ask("SELECT name, about FROM offers WHERE kind = ? AND city = ?", kind, _plain(city))
    names = [name for name, about in rows if wishes.items() <= json.loads(about).items()]
    told = {"city": _plain(city), **(asked or {}), **wishes}
    return {"looked_for": told, "found": sorted(names)[:_MOST]}


def _booked(kind: str, name: str, city: str | None, about: dict) -> dict:
    """The booking, which is kept; LookupError where there is no such thing to book."""
    if kind not in ("ride", "bus") and not _offered(kind, name, city):
        place = "" if city is None else f" in {city}"
        raise LookupError(f"there is no {kind} {name!r}{place}")
    booking = {"booked": kind, "name": _plain(name)}
    booking |= {} if city is None else {"city": _plain(city)}
    booking |= about
    told = json.dumps(booking, sort_keys=True)
    reference = hashlib.sha256(told.encode()).hexdigest()[:8]
    _ask("INSERT OR IGNORE INTO bookings VALUES (?, ?, ?)", reference, kind, told)
    return {**booking, "reference": reference}


def _offered(kind: str, name: str, city: str | None) -> bool:
    where = "kind = ? AND key = ?" + ("" if city is None else " AND city = ?")
    values = [kind, _plain(name), *([] if city is None else [_plain(city)])]
    return bool(_ask(f"SELECT 1 FROM offers WHERE {where} LIMIT 1", *values))


def _ask(sql: str, *values: object) -> list:
    with closing(sqlite3.connect(_opened(), timeout=30)) as connection, connection:
        return connection.execute(sql, values).fetchall()


def _opened() -> Path:
    """The database, made where there is none."""
    with _making:
        if not _DATABASE.exists():
            fresh = _DATABASE.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            with closing(sqlite3.connect(fresh)) as connection, connection:
                connection.execute("CREATE TABLE offers (kind, name, key, city, about)")
                connection.execute("CREATE TABLE bookings (reference PRIMARY KEY, kind, about)")
                for line in (_HERE / "offers.jsonl").read_text(encoding="utf-8").splitlines():
                    one = json.loads(line)
                    about = {key: _plain(value) for key, value in one["about"].items()}
                    names = (one["kind"], one["name"], _plain(one["name"]), _plain(one["city"]))
                    row = (*names, json.dumps(about))
                    connection.execute("INSERT INTO offers VALUES (?, ?, ?, ?, ?)", row)
            fresh.replace(_DATABASE)
    return _DATABASE


def _plain(value: object) -> object:
    return " ".join(value.casefold().split()) if isinstance(value, str) else value


def _date(text: str) -> str:
    try:
        return Day.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f"{text!r} is no date: write it as 2019-03-01") from None


def _time(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError(f"{text!r} is no time: write it as 18:30")
    return text
