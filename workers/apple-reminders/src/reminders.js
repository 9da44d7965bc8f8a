// Reads and changes Reminders. One argument: JSON with "op". The answer is {"ok": …} or {"error": {number, message}}.
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
  const app = Application("com.apple.reminders");
  switch (input.op) {
    case "lists": return lists(app);
    case "reminders": return input.lists.flatMap((id) => inList(app, id, input.done));
    case "reminder": return one(app, input.id);
    case "add": return add(app, input.list, input.content);
    case "set": return set(app, input.old, input.content);
    case "remove": return remove(app, input.old);
    default: throw new Error("no such op");
  }
}

function lists(app) {
  const usual = app.defaultList().id();
  const ids = app.lists.id(), names = app.lists.name();
  return ids.map((id, at) => ({ id, name: names[at], default: id === usual, writable: true }));
}

// One question for each property of all reminders, directly on the filter: kept in a variable it becomes a list of
// references, and one question for each reminder takes minutes.
function inList(app, list, done) {
  const query = () => app.lists.byId(list).reminders.whose({ completed: done });
  const columns = {};
  for (const property of ["id", "name", "body", "dueDate", "alldayDueDate", "priority", "completionDate", "creationDate", "modificationDate"]) {
    columns[property] = query()[property]();
  }
  const length = columns.id.length;
  for (const property in columns) {
    // Reminders changed between two questions.
    if (columns[property].length !== length) throw new Error("the columns differ");
  }
  return columns.id.map((id, at) => row(list, done, (property) => columns[property][at]));
}

function row(list, done, of) {
  const text = (date) => (date ? date.toISOString() : null);
  return {
    id: of("id"),
    list,
    title: of("name") || "",
    notes: of("body") || null,
    due: due(of("dueDate"), of("alldayDueDate")),
    priority: of("priority") || 0,
    done,
    completed: text(of("completionDate")),
    created: text(of("creationDate")),
    modified: text(of("modificationDate")),
  };
}

// A whole day is told as a day where the person is, never by way of UTC.
function due(date, day) {
  if (!date) return null;
  const pad = (number) => String(number).padStart(2, "0");
  const isDay = day && date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0;
  if (!isDay) return { at: date.toISOString() };
  return { day: `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}` };
}

function find(app, id) {
  const reminder = app.reminders.byId(id);
  try {
    reminder.id();
  } catch (e) {
    if (e.errorNumber === -1728) return null;
    throw e;
  }
  return reminder;
}

function read(reminder) {
  return row(reminder.container().id(), reminder.completed(), (property) => reminder[property]());
}

function one(app, id) {
  const reminder = find(app, id);
  return reminder && read(reminder);
}

function properties(content) {
  const found = { name: content.title, body: content.notes || "", priority: content.priority };
  if (content.done) found.completed = true;
  if (content.due && content.due.at) found.dueDate = new Date(content.due.at);
  if (content.due && content.due.day) {
    const [year, month, day] = content.due.day.split("-").map(Number);
    found.alldayDueDate = new Date(year, month - 1, day);
  }
  return found;
}

// Everything is set at once: changing a reminder right after it was made has stalled.
function add(app, list, content) {
  const reminder = app.Reminder(properties(content));
  app.lists.byId(list).reminders.push(reminder);
  return read(reminder);
}

// The reminder, where it is still the one that was planned on.
function unchanged(app, old) {
  const reminder = find(app, old.id);
  if (!reminder) return null;
  const now = read(reminder);
  const same = ["list", "title", "notes", "priority", "done"].every((key) => now[key] === old[key]);
  return same && sameDue(now.due, old.due) && moment(now.modified) === moment(old.modified) ? reminder : null;
}

// Moments have more than one spelling.
function moment(text) {
  return text ? Date.parse(text) : null;
}

function sameDue(one, other) {
  if (!one || !other) return !one && !other;
  return one.day === other.day && moment(one.at) === moment(other.at);
}

function set(app, old, content) {
  const reminder = unchanged(app, old);
  if (!reminder) return "changed";
  if (content.title !== old.title) reminder.name = content.title;
  if (content.notes !== old.notes) reminder.body = content.notes || "";
  if (content.priority !== old.priority) reminder.priority = content.priority;
  if (!sameDue(content.due, old.due)) {
    const { dueDate, alldayDueDate } = properties(content);
    if (alldayDueDate) reminder.alldayDueDate = alldayDueDate;
    else reminder.dueDate = dueDate || null;
  }
  if (content.done !== old.done) reminder.completed = content.done;
  return { made: read(reminder) };
}

function remove(app, old) {
  const reminder = unchanged(app, old);
  if (!reminder) return "changed";
  app.delete(reminder);
  return { made: old };
}
