# ruff: noqa: E501 - a sentence or a line of generated code stays on one line
"""Physics: short facts in plain sentences and one-step problems."""

from random import Random

from demo_pretraining.words import MATERIALS, OBJECTS, VEHICLES, Draft, capital, decimal

FACTS = (
    (
        "What is speed?",
        "Speed is the distance covered divided by the time taken. Its unit is the metre per second.",
    ),
    (
        "What is acceleration?",
        "Acceleration is the change of velocity divided by the time it takes. Its unit is the metre per second squared.",
    ),
    (
        "What is a force?",
        "A force is a push or a pull. It changes the motion of a body or its shape, and it is measured in newtons.",
    ),
    (
        "State the law of inertia.",
        "A body stays at rest or moves in a straight line at constant speed unless a net force acts on it.",
    ),
    (
        "What is weight?",
        "Weight is the force with which gravity pulls a body. Near the ground it is the mass times 9.8 newtons per kilogram.",
    ),
    (
        "What is density?",
        "Density is mass divided by volume. Water has a density of 1000 kilograms per cubic metre.",
    ),
    (
        "What is pressure?",
        "Pressure is force divided by the area on which it acts. One pascal is one newton on one square metre.",
    ),
    (
        "What is electric current?",
        "Electric current is charge that flows, divided by the time. One ampere is one coulomb in one second.",
    ),
    (
        "What does Ohm's law say?",
        "The voltage across a resistor equals its resistance times the current through it.",
    ),
    ("What is power?", "Power is energy divided by time. One watt is one joule in one second."),
    (
        "What is temperature?",
        "Temperature measures how hot a body is. Zero degrees Celsius is 273.15 kelvin.",
    ),
    (
        "Why does ice float?",
        "Ice is less dense than water, so the water it pushes aside weighs as much as the ice before it is fully under.",
    ),
    (
        "Why is the sky blue?",
        "Air scatters short waves of sunlight more than long ones, so blue light reaches us from every direction.",
    ),
    (
        "What is sound?",
        "Sound is a pressure wave. In air it travels about 340 metres in a second, and it cannot travel through empty space.",
    ),
)


def fact(rng: Random) -> Draft:
    question, answer = rng.choice(FACTS)
    lead = rng.choice(
        ["", "Explain briefly. ", "In two sentences: ", "Physics. ", "For beginners: ", "Recall. "]
    )
    return ("fact", question, lead), lead + question, answer


def velocity(rng: Random) -> Draft:
    speed, time = rng.randint(2, 60), rng.randint(2, 90)
    what = rng.choice(VEHICLES + OBJECTS)
    question = f"{capital(what)} covers {speed * time} m in {time} s at constant speed. How fast is it?"
    return (speed, time), question, f"v = s / t = {speed * time} m / {time} s = {speed} m/s."


def newton(rng: Random) -> Draft:
    mass, rate = rng.randint(2, 120), rng.choice([0.5, 1, 1.5, 2, 2.5, 3, 4, 5])
    force, what = mass * rate, rng.choice(OBJECTS)
    if rng.random() < 0.5:
        question = f"What net force gives {what} of {mass} kg an acceleration of {decimal(rate)} m/s^2?"
        answer = f"F = m * a = {mass} kg * {decimal(rate)} m/s^2 = {decimal(force)} N."
    else:
        question = f"A net force of {decimal(force)} N acts on {what} of {mass} kg. What is its acceleration?"
        answer = f"a = F / m = {decimal(force)} N / {mass} kg = {decimal(rate)} m/s^2."
    return (mass, rate), question, answer


def ohm(rng: Random) -> Draft:
    current, resistance = rng.choice([0.1, 0.2, 0.5, 1, 1.5, 2, 3, 4]), rng.randint(2, 240)
    voltage = current * resistance
    kind = rng.randint(0, 2)
    if kind == 0:
        question = f"A current of {decimal(current)} A flows through {resistance} ohm. Find the voltage."
        answer = f"U = R * I = {resistance} * {decimal(current)} = {decimal(voltage)} V."
    elif kind == 1:
        question = f"What current flows when {decimal(voltage)} V lie across {resistance} ohm?"
        answer = f"I = U / R = {decimal(voltage)} / {resistance} = {decimal(current)} A."
    else:
        question = f"A lamp takes {decimal(current)} A at {decimal(voltage)} V. What is its resistance?"
        answer = f"R = U / I = {decimal(voltage)} / {decimal(current)} = {resistance} ohm."
    return (current, resistance, kind), question, answer


def density(rng: Random) -> Draft:
    (material, value), volume = (
        rng.choice(list(MATERIALS.items())),
        rng.choice([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 8]),
    )
    question = (
        f"{capital(material)} has a density of {value} kg/m^3. What is the mass of {decimal(volume)} m^3?"
    )
    return (
        (material, volume),
        question,
        f"m = density * volume = {value} * {decimal(volume)} = {decimal(value * volume)} kg.",
    )


def pressure(rng: Random) -> Draft:
    area, value = rng.choice([0.1, 0.2, 0.25, 0.5, 1, 2, 4, 5]), rng.randint(20, 900)
    question = (
        f"A force of {decimal(area * value)} N acts evenly on {decimal(area)} m^2. What is the pressure?"
    )
    return (area, value), question, f"p = F / A = {decimal(area * value)} / {decimal(area)} = {value} Pa."


def power(rng: Random) -> Draft:
    watts, seconds = rng.randint(5, 400), rng.randint(5, 600)
    what = rng.choice(["A motor", "A heater", "A pump", "A lamp", "A fan"])
    if rng.random() < 0.5:
        return (
            (watts, seconds),
            f"{what} runs at {watts} W for {seconds} s. What energy does it use?",
            f"E = P * t = {watts} * {seconds} = {watts * seconds} J.",
        )
    return (
        (watts, seconds),
        f"{what} uses {watts * seconds} J in {seconds} s. What is its power?",
        f"P = E / t = {watts * seconds} / {seconds} = {watts} W.",
    )


def braking(rng: Random) -> Draft:
    rate, time = rng.choice([1, 2, 3, 4, 5, 6]), rng.randint(2, 12)
    start = rate * time + rng.randint(0, 20)
    end = start - rate * time
    what = rng.choice(VEHICLES)
    question = f"{capital(what)} at {start} m/s brakes at {rate} m/s^2 for {time} s. What is its speed then?"
    return (rate, time, start), question, f"v = v0 - a * t = {start} - {rate} * {time} = {end} m/s."


def kelvin(rng: Random) -> Draft:
    celsius = rng.randint(-80, 400)
    if rng.random() < 0.5:
        return (
            (celsius,),
            f"Convert {celsius} degrees Celsius to kelvin.",
            f"T = {celsius} + 273.15 = {celsius + 273.15:.2f} K.",
        )
    return (
        (celsius,),
        f"Convert {celsius + 273.15:.2f} K to degrees Celsius.",
        f"{celsius + 273.15:.2f} - 273.15 = {celsius} degrees Celsius.",
    )


def weight(rng: Random) -> Draft:
    mass, (where, gravity) = (
        rng.randint(2, 300),
        rng.choice([("the Earth", 9.8), ("the Moon", 1.6), ("Mars", 3.7), ("Jupiter", 24.8)]),
    )
    question = f"How much does {rng.choice(OBJECTS)} of {mass} kg weigh on {where}, where g = {gravity} N/kg?"
    return (mass, where), question, f"G = m * g = {mass} * {gravity} = {decimal(mass * gravity)} N."


FAMILIES = (velocity, newton, ohm, density, pressure, power, braking, kelvin, weight, fact)
