// Uses the client of orval. Prints JSON.
import { predictHousing, predictIncome, listModels, v1ModelsHousingPredict, v2ModelsHousingInfer } from "./client.ts";

const url = process.argv[2]!;
const example = async (model: string) => (await (await fetch(`${url}/models/${model}`)).json()).examples[0].row;

const housing = await predictHousing({ rows: [await example("housing")] });
if (housing.status !== 200) throw new Error(JSON.stringify(housing.data));
const value: number = housing.data.predictions[0]!.value;
const income = await predictIncome({ rows: [await example("income")] }, { on_invalid: "skip" });
if (income.status !== 200) throw new Error(JSON.stringify(income.data));
const probabilities: { [label: string]: number } = income.data.predictions[0]!.probabilities;
const v1 = await v1ModelsHousingPredict({ instances: [await example("housing")] });
const inputs = Object.entries(await example("housing")).map(([name, cell]) => ({
  name, datatype: "FP64", shape: [1], data: [cell],
}));
const v2 = await v2ModelsHousingInfer({ inputs });
const models = await listModels();
if (models.status !== 200) throw new Error(JSON.stringify(models.data));
console.log(
  JSON.stringify({ value, probabilities, v1: v1.data, v2: v2.data, names: models.data.models!.map((one) => one.name) }),
);
