/** The current view, kept in the URL's fragment so that no server or log sees it and the Back button works. */
export type Place = { kind: "list" } | { kind: "new" } | { kind: "key"; id: string } | { kind: "owner"; owner: string };

class Route {
  place = $state<Place>(read());

  constructor() {
    addEventListener("hashchange", () => (this.place = read()));
  }

  go(place: Place): void {
    location.hash = link(place);
  }
}

export const route = new Route();

export function link(place: Place): string {
  switch (place.kind) {
    case "list":
      return "#/";
    case "new":
      return "#/new";
    case "key":
      return `#/keys/${place.id}`;
    case "owner":
      return `#/owners/${encodeURIComponent(place.owner)}`;
  }
}

function read(): Place {
  const [, kind, rest = ""] = location.hash.split("/");
  if (kind === "new") return { kind: "new" };
  if (kind === "keys" && /^[0-9A-Za-z]{12}$/.test(rest)) return { kind: "key", id: rest };
  if (kind === "owners") return { kind: "owner", owner: decoded(rest) };
  return { kind: "list" };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
