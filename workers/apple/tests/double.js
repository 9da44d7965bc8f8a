// Stands for osascript in tests: runs a script with a double of Calendar and Reminders.
//   node double.js WORLD SCRIPT ARGUMENT
// As the apps do: properties are functions, collections are lazy, a filter is asked anew for each property, and failures
// are errors with a number. The world is a JSON file; a change is written back to it.
const fs = require("fs");
const vm = require("vm");

const [worldFile, scriptFile, argument] = process.argv.slice(2);
const world = JSON.parse(fs.readFileSync(worldFile, "utf8"));
const save = () => fs.writeFileSync(worldFile, JSON.stringify(world));

const WORDS = { "-1743": "Keine Berechtigung.", "-1728": "Objekt nicht gefunden.", "-600": "Das Programm ist nicht aktiv.", "-1712": "Zeitüberschreitung.", "-10814": "Nicht gefunden.", "-10004": "Ein Zugriffsfehler ist aufgetreten." };
function fail(number) {
  const error = new Error(WORDS[number] || "Fehler");
  error.errorNumber = number;
  throw error;
}

// Every event to an app comes by here.
function send() {
  if (world.error === "hang") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  if (world.error === "garbage") {
    process.stdout.write("missing value\n");
    process.exit(0);
  }
  if (world.error === "uncaught") {
    process.stderr.write(`${scriptFile}: Ausführungsfehler: Error: Keine Berechtigung. (-1743)\n`);
    process.exit(1);
  }
  if (world.error) fail(world.error);
}

const READ_ONLY = ["id", "uid", "creationDate", "modificationDate", "completionDate", "container"];
const KNOWN = {
  calendar: ["name", "calendarIdentifier", "writable", "description"],
  event: ["uid", "summary", "startDate", "endDate", "alldayEvent", "location", "description", "status", "recurrence"],
  list: ["id", "name", "color"],
  reminder: ["id", "name", "body", "completed", "completionDate", "dueDate", "alldayDueDate", "priority", "creationDate", "modificationDate"],
};
const HOLDS = { calendar: { events: "event" }, list: { reminders: "reminder" } };

function value(kind, raw, property) {
  if (!KNOWN[kind].includes(property)) fail(-1728);
  let found = raw[property];
  // Setting a time sets the day with it.
  if (property === "alldayDueDate" && found === undefined && raw.dueDate) {
    const date = new Date(raw.dueDate);
    date.setHours(0, 0, 0, 0);
    found = date.toISOString();
  }
  // A version without this property.
  if (found === undefined && property === "calendarIdentifier") fail(-1728);
  if (found === undefined || found === null) return null;
  return property.endsWith("Date") ? new Date(found) : found;
}

function set(kind, raw, property, given) {
  send();
  if (READ_ONLY.includes(property) || !KNOWN[kind].includes(property)) fail(-10006);
  const text = given instanceof Date || (given && given.toISOString) ? given.toISOString() : given;
  raw[property] = text;
  if (property === "alldayDueDate") raw.dueDate = text;
  if (property === "dueDate") delete raw.alldayDueDate;
  if (property === "completed") raw.completionDate = given ? new Date().toISOString() : null;
  world.clock = (world.clock || Date.parse("2026-06-02T08:00:00Z")) + 1000;
  raw.modificationDate = new Date(world.clock).toISOString();
  save();
}

// One object, found anew each time that it is asked.
function object(kind, find, parent) {
  return new Proxy({}, {
    get(_, property) {
      if (property === "raw") return find;
      if ((HOLDS[kind] || {})[property]) {
        return elements(HOLDS[kind][property], () => at()[property], () => at());
      }
      if (property === "container") return () => (at(), object("list", () => parent(find())));
      return () => value(kind, at(), property);
    },
    set(_, property, given) {
      set(kind, at(), property, given);
      return true;
    },
  });
  function at() {
    send();
    return find() || fail(-1728);
  }
}

const parentOf = (raw) => world.lists.find((list) => list.reminders.includes(raw));

function elements(kind, all) {
  const one = (raw) => object(kind, () => (all().includes(raw) ? raw : undefined), parentOf);
  let asked = 0;
  const filtered = all.filtered;
  return new Proxy(function () {}, {
    apply: () => (send(), all().map(one)),
    get(_, property) {
      if (property === "whose") {
        const filter = (test) => {
          const matching = () => all().filter((raw) => matches(kind, raw, test));
          matching.filtered = true;
          return elements(kind, matching);
        };
        return filter;
      }
      if (property === "byId") return (id) => object(kind, () => all().find((raw) => raw.id === id), parentOf);
      if (property === "push") {
        return (made) => {
          send();
          all().push(made.raw());
          save();
        };
      }
      return () => {
        send();
        // A filter that is kept becomes a list of references.
        if (filtered && asked++) fail(-1728);
        return all().map((raw) => value(kind, raw, property));
      };
    },
  });
}

function matches(kind, raw, test) {
  return Object.entries(test).every(([key, wanted]) => {
    if (key === "_and") return wanted.every((one) => matches(kind, raw, one));
    const found = value(kind, raw, key);
    if (wanted === null || typeof wanted !== "object") return found === wanted;
    return Object.entries(wanted).every(([operator, bound]) => {
      switch (operator) {
        case "_equals": return +found === +bound;
        case "_lessThan": return found < bound;
        case "_greaterThan": return found > bound;
        default: throw new Error(`the double has no ${operator}`);
      }
    });
  });
}

function application(name) {
  if (name === "com.apple.iCal") {
    return { calendars: elements("calendar", () => world.calendars) };
  }
  if (name !== "com.apple.reminders") throw new Error(`an app that was not expected: ${name}`);
  const everywhere = () => world.lists.flatMap((list) => list.reminders);
  return {
    defaultList: () => (send(), object("list", () => world.lists[0])),
    lists: elements("list", () => world.lists),
    reminders: elements("reminder", everywhere),
    Reminder(properties) {
      const now = "2026-06-02T08:00:00.000Z";
      const raw = { id: `x-apple-reminder://${everywhere().length}`, completed: false, creationDate: now, modificationDate: now };
      for (const property in properties) {
        if (!KNOWN.reminder.includes(property) || READ_ONLY.includes(property)) fail(-10006);
        const given = properties[property];
        raw[property] = given && given.toISOString ? given.toISOString() : given;
        if (property === "alldayDueDate") raw.dueDate = raw[property];
      }
      return object("reminder", () => raw, parentOf);
    },
    delete(reminder) {
      send();
      const raw = reminder.raw() || fail(-1728);
      const list = parentOf(raw);
      list.reminders.splice(list.reminders.indexOf(raw), 1);
      save();
    },
  };
}

const context = vm.createContext({
  Application: application,
  ObjC: { import() {}, unwrap: (text) => text },
  $: { NSTimeZone: { localTimeZone: { name: "Europe/Berlin" } } },
  // What an injected text would call.
  pwned() {
    world.pwned = true;
    save();
  },
});
vm.runInContext(fs.readFileSync(scriptFile, "utf8"), context, { filename: scriptFile });
context.argument = argument;
process.stdout.write(vm.runInContext("run([argument])", context) + "\n");
