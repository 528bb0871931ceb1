import Vanilla = require('nedb-promises')

/** The library's types, in the form that each `moduleResolution` takes alike (see ../nedb/vanilla.d.cts). */
export type Datastore<Doc> = Vanilla<Doc>
export type DatastoreOptions = Extract<Parameters<typeof Vanilla.create>[0], { filename?: string }>
