import { vitePreprocess } from "@sveltejs/vite-plugin-svelte";

export default {
  preprocess: vitePreprocess(),
  compilerOptions: {
    runes: true,
    // Tables say their roles, since Safari forgets them where a style lays a table out as cards.
    warningFilter: ({ code }) => code !== "a11y_no_redundant_roles",
  },
};
