import { FILTERS, SORTS, type Filter, type Sort } from "./keys/facts";

/** What the list shows. */
export interface ListView {
  query: string;
  filter: Filter;
  sort: Sort;
}

/** The current view, kept in the URL's fragment so that no server or log sees it and the Back button works. */
export type Place =
  | { kind: "list"; view: ListView }
  /** The form for a new key; `fill` can fill it in: see `Create.svelte`. */
  | { kind: "new"; fill: URLSearchParams }
  | { kind: "key"; id: string }
  | { kind: "owner"; owner: string }
  | { kind: "unknown" };

export const EVERYTHING: ListView = { query: "", filter: "live", sort: "-created_at" };

class Route {
  place = $state.raw<Place>(read());
  /** The list as it was last shown, for links back to it. */
  list = $state.raw<ListView>(EVERYTHING);
  /** How far each entry of the history was scrolled. */
  readonly #scrolled = new Map<number, number>();
  #entry = 0;
  #newest = 0;

  constructor() {
    history.scrollRestoration = "manual";
    history.replaceState(0, "");
    addEventListener("scroll", () => this.#scrolled.set(this.#entry, scrollY), { passive: true });
    addEventListener("popstate", ({ state }) => {
      // A link inside the page creates an entry without a state.
      if (typeof state === "number") this.#entry = state;
      else history.replaceState((this.#entry = this.#newest += 1), "");
      this.#show();
    });
    this.#show();
  }

  /** How far the current entry of the history was scrolled when it was left: 0 for a new one. */
  get scrolled(): number {
    return this.#scrolled.get(this.#entry) ?? 0;
  }

  go(place: Place): void {
    location.hash = link(place);
  }

  /** Goes to `place` in the history's current entry, so that Back skips the view before. */
  replace(place: Place): void {
    history.replaceState(this.#entry, "", link(place));
    this.#scrolled.delete(this.#entry);
    this.#show();
  }

  #show(): void {
    this.place = read();
    if (this.place.kind === "list") this.list = this.place.view;
  }
}

export const route = new Route();

export function link(place: Place): string {
  switch (place.kind) {
    case "list": {
      const { query, filter, sort } = place.view;
      const search = new URLSearchParams({
        ...(query === "" ? {} : { q: query }),
        ...(filter === EVERYTHING.filter ? {} : { show: filter }),
        ...(sort === EVERYTHING.sort ? {} : { sort }),
      }).toString();
      return search === "" ? "#/" : `#/?${search}`;
    }
    case "new":
      return place.fill.size === 0 ? "#/new" : `#/new?${place.fill.toString()}`;
    case "key":
      return `#/keys/${place.id}`;
    case "owner":
      return `#/owners/${encodeURIComponent(place.owner)}`;
    case "unknown":
      return "#/";
  }
}

function read(): Place {
  const [path = "", search = ""] = location.hash.split(/\?(.*)/s);
  const parameters = new URLSearchParams(search);
  const [, kind = "", rest = "", ...more] = path.split("/");
  if (more.length > 0) return { kind: "unknown" };
  if (kind === "new" && rest === "") return { kind: "new", fill: parameters };
  if (kind === "keys" && /^[0-9A-Za-z]{12}$/.test(rest)) return { kind: "key", id: rest };
  const owner = decoded(rest);
  if (kind === "owners" && owner !== "") return { kind: "owner", owner };
  if (kind !== "" || rest !== "") return { kind: "unknown" };
  const one = <T extends string>(name: string, known: readonly T[], otherwise: T): T =>
    known.find((value) => value === parameters.get(name)) ?? otherwise;
  const view = {
    query: parameters.get("q") ?? "",
    filter: one("show", FILTERS, EVERYTHING.filter),
    sort: one("sort", SORTS, EVERYTHING.sort),
  };
  return { kind: "list", view };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
