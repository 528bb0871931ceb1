// The types of dist/: the declarations of every source file, which tsc leaves in build/types, put together by entry.
import { copyFileSync, writeFileSync } from 'node:fs'
import { dts } from 'rollup-plugin-dts'

const ENTRIES = {
  index: 'src/index',
  lowdb: 'adapters/lowdb',
  nedb: 'adapters/nedb',
  'nedb-promises': 'adapters/nedb-promises',
}
/** Stay files of their own: what they say can be said in a `.d.cts` only. */
const VANILLA = { nedb: 'nedb/vanilla', 'nedb-promises': 'nedb-promises/vanilla' }

export default {
  input: Object.fromEntries(
    Object.entries(ENTRIES).map(([name, path]) => [name, `build/types/${path}.d.ts`]),
  ),
  external: (id) => (/^[a-z@]/.test(id) && !id.startsWith('build/')) || id.endsWith('vanilla.cjs'),
  plugins: [dts(), { name: 'of-commonjs', renderChunk: ofCommonJs, writeBundle }],
  output: {
    dir: 'dist',
    format: 'esm',
    entryFileNames: '[name].d.cts',
    chunkFileNames: ({ name }) => `${name.replace(/\.d$/, '')}-types.d.cts`,
  },
}

function ofCommonJs(code) {
  return (
    code
      // A quarter of the bytes that indent them.
      .replace(/^(?: {4})+/gm, (spaces) => '\t'.repeat(spaces.length / 4))
      .replace(/(from '\.\/[^']*)\.c?js'/g, "$1.cjs'")
      .replace(/(?<=from ')\.\/.*\/([\w-]+)\/vanilla\.cjs'/g, "./vanilla-$1.cjs'")
      // lowdb is ES modules only; from CommonJS its types are named as what they are.
      .replace(
        /import (\{[^}]*\}) from '(lowdb[^']*)'/g,
        "import type $1 from '$2' with { 'resolution-mode': 'import' }",
      )
  )
}

/** The types are the same for both kinds of modules, so that what one gives the other takes. */
function writeBundle() {
  for (const name of Object.keys(ENTRIES))
    writeFileSync(`dist/${name}.d.ts`, `export * from './${name}.cjs'\n`)
  for (const [name, path] of Object.entries(VANILLA))
    copyFileSync(`adapters/${path}.d.cts`, `dist/vanilla-${name}.d.cts`)
}
