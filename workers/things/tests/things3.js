// Things as JavaScript for Automation sees it, for node: `node things3.js WORLD ARGUMENT`, with the script on standard input, as
// `osascript -l JavaScript - ARGUMENT` has it. Names lead to objects only when a value is asked for; each such question is one
// Apple event. What fails, fails by number.
"use strict";
const fs = require("fs");
const vm = require("vm");
const world = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
let events = 0;

function failure(number) {
  const error = new Error("Things3 got an error: Can’t get object.");
  error.errorNumber = number;
  return error;
}

function event() {
  events += 1;
  if (world.fail) throw failure(world.fail);
  // Somebody deletes a to-do between two events.
  if (world.shrinkAfter === events) world.toDos.shift();
}

const DATES = ["dueDate", "activationDate", "creationDate", "completionDate", "cancellationDate"];
const PROPERTIES = {
  toDos: ["id", "name", "notes", "status", "tagNames", "project", "area", ...DATES],
  projects: ["id", "name", "status", "dueDate", "area"],
  areas: ["id", "name"],
  tags: ["name", "parentTag"],
  lists: ["id", "name"],
};
const LINKS = { project: "projects", area: "areas", parentTag: "tags" };

function value(kind, object, property) {
  const raw = object[property] === undefined ? null : object[property];
  if (raw === null) return null;
  if (LINKS[property]) {
    const key = property === "parentTag" ? "name" : "id";
    return one(LINKS[property], () => world[LINKS[property]].find((other) => other[key] === raw));
  }
  return DATES.includes(property) ? new Date(raw) : raw;
}

// One object, by whatever leads to it.
function one(kind, find) {
  return new Proxy(function () {}, {
    get(_, property) {
      if (property === "toDos") return many("toDos", () => (find() || none()).members.map((id) => world.toDos.find((todo) => todo.id === id)).filter((todo) => todo));
      if (!PROPERTIES[kind].includes(property)) throw failure(-1728);
      return () => {
        event();
        return value(kind, find() || none(), property);
      };
    },
    apply() {
      throw failure(-1708);
    },
  });
}

function none() {
  throw failure(-1728);
}

// All objects that a name leads to.
function many(kind, all) {
  return new Proxy(function () {}, {
    get(_, property) {
      if (property === "byId") return (id) => one(kind, () => all().find((object) => object.id === id));
      if (property === "whose") {
        return (test) => {
          const [[key, wanted]] = Object.entries(test);
          return many(kind, () => all().filter((object) => object[key] === wanted));
        };
      }
      if (property === "map" || property === "length" || property === "filter") throw failure(-1700);
      if (!PROPERTIES[kind].includes(property)) throw failure(-1728);
      const column = () => {
        event();
        return all().map((object) => value(kind, object, property));
      };
      // `project.id()` of a list fails where one of its objects has none.
      column.id = () => column().map((object) => (object ? object.id() : none()));
      return column;
    },
  });
}

function Application(name) {
  if (name !== "Things3") {
    process.stderr.write(`another app is asked: ${name}\n`);
    process.exit(3);
  }
  return {
    lists: many("lists", () => world.lists),
    toDos: many("toDos", () => world.toDos),
    projects: many("projects", () => world.projects),
    areas: many("areas", () => world.areas),
    tags: many("tags", () => world.tags),
  };
}

if (world.hang) setInterval(() => {}, 1000);
else {
  const context = vm.createContext({ Application });
  vm.runInContext(fs.readFileSync(0, "utf8"), context);
  if (world.crash) {
    process.stderr.write(`-:120:140: execution error: Error: Das Programm läuft nicht. (${world.crash})\n`);
    process.exit(1);
  }
  process.stdout.write(context.run([process.argv[3]]) + "\n");
}
