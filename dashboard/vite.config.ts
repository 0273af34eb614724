import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// The page is /api-keys, its files are below it, and every link is relative, so it works below a stage as well.
export default defineConfig({
  base: "./",
  plugins: [svelte()],
  build: {
    assetsDir: "api-keys/assets",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
  },
});
