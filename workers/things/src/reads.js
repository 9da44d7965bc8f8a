// What the worker asks Things, as JavaScript for Automation. The worker gives `run` one argument: a JSON text. It is parsed and
// never becomes part of a script. The answer is a JSON text too; an error is its number and nothing of its words.
//
// Each property of a list is one Apple event for all items. Lists are named by their ids, which no language changes.

const LISTS = {
  inbox: "TMInboxListSource",
  today: "TMTodayListSource",
  upcoming: "TMCalendarListSource",
  anytime: "TMNextListSource",
  someday: "TMSomedayListSource",
};
const MOST = 2000;

function run(argv) {
  try {
    return JSON.stringify(answer(JSON.parse(argv[0])));
  } catch (error) {
    return JSON.stringify({ error: typeof error.errorNumber === "number" ? error.errorNumber : -2700 });
  }
}

function answer(asked) {
  const things = Application("Things3");
  switch (asked.ask) {
    case "todos": {
      const lists = asked.view ? [asked.view] : ["inbox", "anytime", "upcoming", "someday"];
      const found = new Map();
      for (const name of lists) {
        for (const item of todosOf(things, things.lists.byId(LISTS[name]).toDos)) found.set(item.id, item);
      }
      return { todos: [...found.values()] };
    }
    case "todo": {
      const one = things.toDos.byId(asked.id);
      try {
        one.id();
      } catch (error) {
        if (error.errorNumber === -1728) return { todos: [] };
        throw error;
      }
      // To Things a project is a to-do too.
      if (things.projects.id().includes(asked.id)) return { todos: [] };
      return { todos: [single(things, one)] };
    }
    case "made": {
      // `whose` compares the name with a value; the second is compared here.
      const same = things.toDos.whose({ name: asked.title });
      const ids = same.id();
      const made = same.creationDate();
      if (ids.length !== made.length) throw { errorNumber: -1719 };
      const at = ids.filter((_, index) => seconds(made[index]) === asked.second);
      return { todos: at.map((id) => single(things, things.toDos.byId(id))) };
    }
    case "projects": {
      const from = things.projects;
      const columns = [from.id(), from.name(), from.dueDate(), from.status(), places(from, "area")];
      return {
        projects: rows(columns)
          .filter((row) => row[3] === "open")
          .map(([id, title, due, , area]) => ({ id, title, deadline: day(due), area })),
      };
    }
    case "areas":
      return { areas: rows([things.areas.id(), things.areas.name()]).map(([id, title]) => ({ id, title })) };
    case "tags": {
      const parents = things.tags.parentTag().map((tag) => (tag ? tag.name() : null));
      return { tags: rows([things.tags.name(), parents]).map(([name, parent]) => ({ name, parent })) };
    }
  }
  throw { errorNumber: -1708 };
}

function todosOf(things, from) {
  const ids = from.id();
  if (ids.length > MOST) throw { errorNumber: -10001 };
  const projects = new Set(things.projects.id());
  const columns = [
    ids, from.name(), from.notes(), from.status(), from.tagNames(), from.activationDate(), from.dueDate(),
    from.creationDate(), from.completionDate(), from.cancellationDate(), places(from, "project"), places(from, "area"),
  ];
  // A list of to-dos has projects among them.
  const items = rows(columns).filter((row) => !projects.has(row[0])).map((row) => item(...row));
  return withAreas(things, items);
}

function single(things, one) {
  const made = item(
    one.id(), one.name(), one.notes(), one.status(), one.tagNames(), one.activationDate(), one.dueDate(),
    one.creationDate(), one.completionDate(), one.cancellationDate(), place(one.project()), place(one.area()),
  );
  return withAreas(things, [made])[0];
}

function item(id, title, notes, status, tags, active, due, created, completed, canceled, project, area) {
  return {
    id, title, notes: notes || "", status,
    tags: (tags || "").split(",").map((name) => name.trim()).filter((name) => name).sort(),
    day: day(active), deadline: day(due), created: seconds(created), stopped: seconds(completed || canceled), project, area,
  };
}

// A to-do of a project is in the area of the project.
function withAreas(things, items) {
  if (!items.some((one) => one.project && !one.area)) return items;
  const areas = new Map(rows([things.projects.id(), places(things.projects, "area")]));
  for (const one of items) {
    if (one.project && !one.area) one.area = areas.get(one.project.id) || null;
  }
  return items;
}

// The project or the area of each item. `from.project.id()` fails as a whole where one item has none.
function places(from, name) {
  return from[name]().map(place);
}

function place(one) {
  return one ? { id: one.id(), title: one.name() } : null;
}

function rows(columns) {
  // Somebody changed the list between two events.
  if (columns.some((column) => column.length !== columns[0].length)) throw { errorNumber: -1719 };
  return columns[0].map((_, index) => columns.map((column) => column[index]));
}

function seconds(date) {
  return date ? Math.floor(date.getTime() / 1000) : null;
}

// The day of a date here, where the person is.
function day(date) {
  if (!date) return null;
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
