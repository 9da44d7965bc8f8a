// Reads Calendar. One argument: JSON with "op". The answer is {"ok": …} or {"error": {number, message}}.
function run(argv) {
  try {
    return JSON.stringify({ ok: answer(JSON.parse(argv[0])) });
  } catch (e) {
    return JSON.stringify({ error: { number: e.errorNumber || 0, message: String(e.message) } });
  }
}

function answer(input) {
  if (input.op === "zone") {
    ObjC.import("Foundation");
    return ObjC.unwrap($.NSTimeZone.localTimeZone.name);
  }
  const app = Application("com.apple.iCal");
  const calendars = app.calendars().map((calendar, at) => ({ calendar, id: idOf(calendar, at), name: calendar.name() }));
  if (input.op === "calendars") {
    return calendars.map(({ id, name }) => ({ id, name }));
  }
  const from = new Date(input.from), to = new Date(input.to);
  const found = [];
  for (const { calendar, id } of calendars) {
    if (!input.calendars.includes(id)) continue;
    const inRange = { _and: [{ startDate: { _lessThan: to } }, { endDate: { _greaterThan: from } }] };
    found.push(...rows(() => calendar.events.whose(inRange), id));
  }
  return found;
}

// Some versions have no identifier; then the place among the calendars has to do.
function idOf(calendar, at) {
  for (const property of ["calendarIdentifier", "id"]) {
    try {
      const id = calendar[property]();
      if (id) return String(id);
    } catch (e) {
      if (e.errorNumber === -1743 || e.errorNumber === -1712 || e.errorNumber === -600) throw e;
    }
  }
  return "at-" + at;
}

// One question for each property of all events, not one for each event: that takes minutes.
function rows(query, calendar) {
  const columns = {};
  for (const property of ["uid", "summary", "startDate", "endDate", "alldayEvent", "location", "description", "status", "recurrence"]) {
    columns[property] = query()[property]();
  }
  const length = columns.uid.length;
  for (const property in columns) {
    // The calendar changed between two questions.
    if (columns[property].length !== length) throw new Error("the columns differ");
  }
  return columns.uid.map((uid, at) => ({
    id: uid,
    calendar,
    title: columns.summary[at] || "",
    start: columns.startDate[at].toISOString(),
    end: columns.endDate[at].toISOString(),
    allDay: columns.alldayEvent[at] === true,
    place: columns.location[at] || null,
    notes: columns.description[at] || null,
    status: columns.status[at] && columns.status[at] !== "none" ? columns.status[at] : null,
    repeats: Boolean(columns.recurrence[at]),
  }));
}
