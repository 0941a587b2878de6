// Uses openapi-fetch with the types of openapi-typescript. Prints JSON.
import createClient from "openapi-fetch";
import type { paths } from "./schema.d.ts";

const url = process.argv[2]!;
const client = createClient<paths>({ baseUrl: url });
const example = async (model: string) => (await (await fetch(`${url}/models/${model}`)).json()).examples[0].row;

const housing = await client.POST("/predict/housing", { body: { rows: [await example("housing")] } });
if (housing.error) throw new Error(housing.error.detail);
const value: number = housing.data.predictions[0]!.value;
const income = await client.POST("/predict/income", { body: { rows: [await example("income")] } });
if (income.error) throw new Error(income.error.detail);
const probabilities: { [label: string]: number } = income.data.predictions[0]!.probabilities;
const skipped = await client.POST("/predict/income", {
  body: { rows: [{ age: -1, "hours-per-week": 3, workclass: "Private" }, { age: "x" } as any] },
  params: { query: { on_invalid: "skip" } },
});
const errors = skipped.data!.errors!.map((error) => error.row);
const refused = await client.POST("/predict/income", { body: { rows: [{} as any] } });
const fields: (string | null)[] = refused.error!.errors.map((error) => error.field);
const described = await client.GET("/models/{name}", { params: { path: { name: "housing" } } });
const table = await client.POST("/predict/{model}", {
  params: { path: { model: "housing" } },
  body: JSON.stringify(await example("housing")),
  bodySerializer: (body) => body,
  headers: { "Content-Type": "application/x-ndjson" },
  parseAs: "text",
});
const v1 = await client.POST("/v1/models/housing:predict", { body: { instances: [await example("housing")] } });
console.log(
  JSON.stringify({
    value, probabilities, errors, fields, name: (described.data as any).name, table: table.data, v1: v1.data,
  }),
);
